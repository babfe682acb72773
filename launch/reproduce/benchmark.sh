#!/usr/bin/env bash
# Makes all figures of the README: the default run, the first picture, and the table of results, for
# which it trains SRCNN, a forest and the origin's recipe. The students of the package are measured
# as they are; launch/reproduce/students.sh trains them.
# Takes hours on 2 CPU cores. An interrupted training or evaluation resumes where it stopped.
#   launch/reproduce/benchmark.sh DATA
#   (DATA holds train/, benchmark/, weights/, rivals/ and seed_generator/)
set -euo pipefail
data=${1:?usage: launch/reproduce/benchmark.sh DATA}
python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
python launch/reproduce/first_picture.py runs/first.png
python -m kdgan_jax.main --config=configs/teacher.py:srcnn --workdir=runs/srcnn \
  --config.data.source="hr:$data/train" --config.evaluate_every=1000 --config.checkpoint_every=1000
[[ -e runs/forest ]] || python -m kdgan_jax.forest --config=configs/forest.py \
  --workdir=runs/forest --config.data.source="hr:$data/train"
python -m kdgan_jax.main --config=configs/seed.py --workdir=runs/seed \
  --config.data.source="hr:$data/train" --config.evaluate_every=1000 --config.checkpoint_every=1000

measure() { # SCALE OUT MODELS OPTIONS...
  local sets=$data/benchmark
  python -m kdgan_jax.evaluate --resume --scale="$1" --out="$2" --models="$3" \
    --data="$sets/Set5,$sets/Set14,$sets/BSD100,$sets/Urban100" "${@:4}"
}
models="nearest,bilinear,bicubic,lanczos,forest,SRCNN=runs/srcnn:teacher"
models+=",origin=$data/seed_generator,origin's recipe=runs/seed"
models+=",origin_x4,clean_tiny_x4,clean_x4,clean_gan_x4,SMFANet+=$data/weights/smfanet_plus_x4.pth"
for file in "$data"/rivals/*.pth; do
  name=$(basename "$file" _x4.pth)
  models+=",${name//_/-}=$file"
done
measure 4 runs/benchmark "$models" --metrics=psnr_y,ssim_y,psnr_rgb,lpips_alex \
  --images=butterfly,zebra,img_004 --compare=clean_gan_x4,clean_x4
for scale in 2 3; do
  measure "$scale" "runs/benchmark_x$scale" \
    "bicubic,FSRCNN=$data/weights/fsrcnn_x$scale.pb,clean_tiny_x$scale" --metrics=psnr_y,ssim_y
done
