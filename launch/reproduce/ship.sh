#!/usr/bin/env bash
# Remakes the student models of the package from the run of launch/reproduce/benchmark.sh.
set -euo pipefail
data="525 photos: BSDS500 without BSD100, the 91 images of Yang et al., reduced DIV2K test photos"
rm -f kdgan_jax/weights/clean{,_gan}_x4.safetensors
for pair in distill:clean_x4 adversarial:clean_gan_x4; do
  python -m kdgan_jax.convert "runs/photos:${pair%:*}" "kdgan_jax/weights/${pair#*:}.safetensors" \
    --data="$data" --source="launch/reproduce/benchmark.sh of kdgan_jax, phase ${pair%:*}" \
    --licence="Apache-2.0; the photos that it was trained on have terms of their own"
done
