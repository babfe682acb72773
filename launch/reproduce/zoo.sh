#!/usr/bin/env bash
# Makes the table of published networks: measures each on the four sets, next to published figures.
# Takes an hour and a quarter on 2 CPU cores and resumes where it stopped. HiT-SRF and VDSR skip
# Urban100, where the two would take as long as all others together.
#   launch/reproduce/zoo.sh DATA     (DATA holds weights/, rivals/ and benchmark/)
set -euo pipefail
data=${1:?usage: launch/reproduce/zoo.sh DATA}
sets=$data/benchmark
models=
slow=
for file in "$data"/weights/* "$data"/rivals/*; do
  name=$(basename "${file%.*}")
  case $file in
    *hit_srf* | *vdsr*) slow+="$name=$file," ;;
    *_x4.* | *carn_m.pth | *fast_srgan.pt | *srcnn_keras.h5) models+="$name=$file," ;;
  esac
done
measure() {
  python -m kdgan_jax.evaluate --resume --metrics=psnr_y,ssim_y --models="$1" --data="$2" --out="$3"
}
measure "${models%,}" "$sets/Set5,$sets/Set14,$sets/BSD100,$sets/Urban100" runs/zoo
measure "${slow%,}" "$sets/Set5,$sets/Set14,$sets/BSD100" runs/zoo_slow
python -m kdgan_jax.zoo "$data/weights" "$data/rivals" --seconds --results runs/zoo runs/zoo_slow
