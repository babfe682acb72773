#!/usr/bin/env bash
# Makes the figures of the README and the results of docs/students.md: the default run, the first
# picture, and the tables, for which it trains the origin's recipe (SRCNN and a student) and a forest.
# The students of the package are measured as they are; launch/reproduce/students.sh trains them.
# Takes half an hour on 2 CPU cores, and three hours more for the origin's recipe. An interrupted
# training or evaluation resumes where it stopped.
#   launch/reproduce/benchmark.sh DATA
#   (DATA holds train/, benchmark/, weights/, rivals/ and seed_generator/)
set -euo pipefail
data=${1:?usage: launch/reproduce/benchmark.sh DATA}
python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
python launch/reproduce/first_picture.py runs/first.png

python -m kdgan_jax.main --config=configs/seed.py --workdir=runs/seed \
  --config.data.source="hr:$data/train" --config.evaluate_every=1000 --config.checkpoint_every=500
python -m kdgan_jax.forest --config=configs/forest.py --workdir=runs/forest \
  --config.data.source="hr:$data/train"

measure() { # SCALE PREFIX OUT MODELS OPTIONS...; the prefix "hr:" makes LR from HR
  local sets=$2$data/benchmark
  python -m kdgan_jax.evaluate --resume --scale="$1" --out="$3" --models="$4" \
    --data="$sets/Set5,$sets/Set14,$sets/BSD100,$sets/Urban100" "${@:5}"
}
models="nearest,bilinear,bicubic,lanczos,forest,SRCNN=runs/seed:teacher"
models+=",origin=$data/seed_generator,recipe=runs/seed,origin_x4"
models+=",clean_tiny_x4,clean_x4,clean_gan_x4,SMFANet+=$data/weights/smfanet_plus_x4.pth"
rivals=$data/rivals
models+=",ABPN-M4C28=$rivals/ABPN_M4C28_x4.pth,ECBSR-M4C16=$rivals/ECBSR_M4C16_x4.pth"
models+=",ECBSR-M4C32=$rivals/ECBSR_M4C32_x4.pth,ECBSR-M6C40=$rivals/ECBSR_M6C40_x4.pth"
models+=",PlainUSR-S=$rivals/PlainUSRS_x4.pth,PlainUSR-U=$rivals/PlainUSRU_x4.pth"
measure 4 "" runs/benchmark "$models" --metrics=psnr_y,ssim_y,psnr_rgb,lpips_alex,mesh \
  --images=butterfly,zebra,img_004 --compare=clean_gan_x4,clean_x4
for scale in 2 3; do
  measure "$scale" hr: "runs/benchmark_x$scale" "bicubic,clean_tiny_x$scale" --metrics=psnr_y,ssim_y
done
