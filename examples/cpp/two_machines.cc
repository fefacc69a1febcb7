// A simulator in C++ of two machines at once: two frozen headers, each under a prefix of its own.
//
//     xenmm export server.dmesg --format c --prefix source > source_mm.h
//     xenmm export other.dmesg --format c --prefix target > target_mm.h
//     c++ -O2 -std=c++11 two_machines.cc -o two_machines && ./two_machines

#include "source_mm.h"
#include "target_mm.h"

#include <cstdio>
#include <vector>

namespace {

// Where frame number n that is memory of one machine can live on the other: the first free frame there.
std::vector<uint64_t> migrate(uint64_t frames)
{
    std::vector<uint64_t> placed;
    uint64_t to = 0;
    for (uint64_t from = 0; from < SOURCE_MAX_PAGE && placed.size() < frames; from += 0x10000) {
        if (!source_mfn_valid(from))
            continue;
        while (to < TARGET_MAX_PAGE && !target_mfn_valid(to))
            to += 0x10000;
        if (to >= TARGET_MAX_PAGE)
            break;
        placed.push_back(target_mfn_to_page(to));
        to += 0x10000;
    }
    return placed;
}

} // namespace

int main()
{
    const std::vector<uint64_t> pages = migrate(1000);
    for (uint64_t page : pages) {
        uint64_t mfn = 0;
        if (target_page_to_mfn_checked(page, &mfn) != TARGET_OK || target_mfn_to_page(mfn) != page)
            return 1;
    }
    std::printf("%zu groups placed\n", pages.size());
    return pages.empty() ? 1 : 0;
}
