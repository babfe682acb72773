#!/usr/bin/env bash
# Trains the student photo_soft_x4 of the package and measures it against its teacher.
# Takes hours on 2 CPU cores. An interrupted training resumes where it stopped.
#   launch/reproduce/photo_soft.sh DATA     (DATA holds train/ and real_world/)
set -euo pipefail
data=${1:?usage: launch/reproduce/photo_soft.sh DATA}
python -m kdgan_jax.main --config=configs/photo_soft.py --workdir=runs/photo_soft \
  --config.data.source="hr:$data/train,lr:$data/train"
python launch/reproduce/drawings.py runs/photo_soft_drawings 150
python -m kdgan_jax.main --config=configs/photo_soft.py:settle --workdir=runs/photo_settled \
  --config.data.source="hr:$data/train,lr:$data/train,lr:runs/photo_soft_drawings"
photos="525 photos: BSDS500 without BSD100, the 91 images of Yang et al., reduced DIV2K test photos"
rm -f kdgan_jax/weights/photo_soft_x4.safetensors
python -m kdgan_jax.convert runs/photo_settled kdgan_jax/weights/photo_soft_x4.safetensors \
  --data="$photos; their LR, reduced and as they are, degraded; 150 drawings; no HR" \
  --source="configs/photo_soft.py of kdgan_jax; teacher: realesr-general-x4v3 (BSD-3-Clause)" \
  --licence="Apache-2.0; its teacher and the photos that it was trained on have terms of their own"
python -m kdgan_jax.evaluate --models=bicubic,clean_x4,photo_soft_x4 \
  --data="real=lr:$data/real_world/photos" --reference_model=realesr-general-x4v3 \
  --out=runs/photo_soft_real
