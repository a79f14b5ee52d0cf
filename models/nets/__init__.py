"""The networks: diffusers' UNet3DConditionModel, and the parts that StreamingT2V adds to it.

`cam` short-term memory, `apm` long-term memory, `conditioned` the forward pass that puts them together, `vid2vid` the
published refiner, `sizes` the sizes that they take.
"""
