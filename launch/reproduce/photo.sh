#!/usr/bin/env bash
# Trains the student photo_x4 of the package, which refines photo_soft_x4 without HR, and its control
# with HR, and measures both against their teacher.
# Takes an hour and a half on 2 CPU cores. An interrupted training resumes where it stopped.
#   launch/reproduce/photo.sh DATA     (DATA holds train/ and real_world/)
set -euo pipefail
data=${1:?usage: launch/reproduce/photo.sh DATA}
refine() {
  python -m kdgan_jax.main --config="configs/photo.py$1" --workdir="$2" --config.data.source="$3"
}
python launch/reproduce/drawings.py runs/photo_drawings 150
refine "" runs/photo "hr:$data/train,lr:$data/train,lr:runs/photo_drawings"
refine :hr runs/photo_hr "hr:$data/train"
photos="525 photos: BSDS500 without BSD100, the 91 images of Yang et al., reduced DIV2K test photos"
rm -f kdgan_jax/weights/photo_x4.safetensors
python -m kdgan_jax.convert runs/photo kdgan_jax/weights/photo_x4.safetensors --soft=photo_soft_x4 \
  --data="$photos; their LR, reduced and as they are, degraded; 150 drawings; no HR" \
  --source="configs/photo.py of kdgan_jax; teacher: realesr-general-x4v3 (BSD-3-Clause)" \
  --licence="Apache-2.0; its teacher and the photos that it was trained on have terms of their own"
python -m kdgan_jax.evaluate --models=bicubic,clean_x4,photo_soft_x4,photo_x4,with_hr=runs/photo_hr \
  --data="real=lr:$data/real_world/photos" --reference_model=realesr-general-x4v3 \
  --metrics=psnr_y,ssim_y,lpips_alex,dists,mesh --out=runs/photo_real
