/* The passes that Python uses, too, in C. */
#pragma once
extern "C" {
#include "pixels.h"
}
