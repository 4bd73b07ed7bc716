#pragma once

/// Everything: reversible residual blocks for LibTorch.

#include <torchrev/branch.h>
#include <torchrev/coupling.h>
#include <torchrev/drift.h>
#include <torchrev/nn/lsh_attention.h>
#include <torchrev/nn/reformer.h>
#include <torchrev/nn/residual_block.h>
#include <torchrev/nn/reversible.h>
#include <torchrev/nn/revnet.h>
#include <torchrev/ops.h>
#include <torchrev/options.h>
#include <torchrev/plan.h>
#include <torchrev/remember.h>
#include <torchrev/reversible.h>
#include <torchrev/version.h>
