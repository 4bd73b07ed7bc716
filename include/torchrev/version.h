#pragma once

/// The only place where a version is written: CMake reads it from here.
#define TORCHREV_VERSION_MAJOR 0
#define TORCHREV_VERSION_MINOR 1
#define TORCHREV_VERSION_PATCH 0
