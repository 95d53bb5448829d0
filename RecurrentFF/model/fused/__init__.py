"""Everything that exists only for speed: the fused path of a network whose layers consist of one `Dense` connection each.

It computes what the plain path computes (`paths.PlainPath`), and the tests compare both with the float64 reference. It is
faster by four means:

1. The patterns of all layers and the label lie one below the other in one tensor. Neighboring blocks are one matrix
   product: [below; n(h); above] against [W_f | W_lat | −W_b].
2. What is the same for all candidates is computed once: the drive of the input, and every layer that no label has
   reached yet. Where nothing is learned, the drive of a static input is computed once for all timesteps.
3. The element-wise operations of a layer's timestep, and RMSprop, can be compiled into one pass over memory.
4. Low-precision copies of the weights are kept for a whole batch, and refreshed as part of the update.
"""

from RecurrentFF.model.fused.kernels import EAGER, Kernels, compiled
from RecurrentFF.model.fused.path import FusedPath, FusedRMSprop, path_of
from RecurrentFF.model.fused.state import FusedState

__all__ = ["EAGER", "FusedPath", "FusedRMSprop", "FusedState", "Kernels", "compiled", "path_of"]
