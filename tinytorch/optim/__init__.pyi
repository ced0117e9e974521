from tinytorch.core.optimizers import SGD as SGD
from tinytorch.core.optimizers import Adam as Adam
from tinytorch.core.optimizers import AdamW as AdamW
from tinytorch.core.optimizers import CosineAnnealingLR as CosineAnnealingLR
from tinytorch.core.optimizers import OneCycleLR as OneCycleLR
from tinytorch.core.optimizers import Optimizer as Optimizer
from tinytorch.core.optimizers import StepLR as StepLR
from tinytorch.core.optimizers import clip_grad_norm as clip_grad_norm
