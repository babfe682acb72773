#!/usr/bin/env bash
# Makes the figures of the benchmark table: trains on real photos, then evaluates.
# Takes about an hour on 2 CPU cores. An interrupted training resumes where it stopped.
#   launch/reproduce/benchmark.sh DATA     (DATA holds train/, benchmark/ and seed_generator/)
set -euo pipefail
data=${1:?usage: launch/reproduce/benchmark.sh DATA}
python -m kdgan_jax.main --config=configs/kd.py:scratch --workdir=runs/photos \
  --config.data.source="$data/train" --config.evaluate_every=1000 \
  --config.checkpoint_every=1000 --config.train.teacher.steps=12000 \
  --config.train.distill.steps=16000 --config.train.adversarial.steps=1500
python -m kdgan_jax.main --config=configs/teacher.py:srcnn --workdir=runs/srcnn \
  --config.data.source="$data/train" --config.evaluate_every=1000 --config.checkpoint_every=1000
python -m kdgan_jax.forest --config=configs/forest.py --workdir=runs/forest \
  --config.data.source="$data/train"
sets=$data/benchmark
python -m kdgan_jax.evaluate --out=runs/benchmark --metrics=psnr_y,ssim_y,psnr_rgb,lpips_alex \
  --models="nearest,bilinear,bicubic,lanczos,forest,SRCNN=runs/srcnn:teacher,origin=$data/seed_generator,teacher=runs/photos:teacher,student=runs/photos:distill,student GAN=runs/photos:adversarial" \
  --data="$sets/Set5,$sets/Set14,$sets/BSD100,$sets/Urban100" \
  --images=butterfly,zebra,img_004 --compare=teacher,student --compare="student GAN,student"
