/* SPDX-License-Identifier: MIT */
/* One conversion by the frozen header, to time the compiler on. */

#include "machine_mm.h"

uint64_t least(uint64_t mfn);

uint64_t least(uint64_t mfn)
{
    return machine_mfn_to_page(mfn);
}
