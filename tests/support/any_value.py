"""Good arguments of the live machine's and a domain's methods, to be spoilt one or two at a time."""

from machines import small_machine

#: Good arguments of each method; ``mfn`` is a page of domain 1 at gfn 5, granted at 8, ``free`` a free one.
MACHINE = {
    "mfn_valid": ["mfn"],
    "page": ["mfn"],
    "page_at_pdx": [3],
    "get_gpfn_from_mfn": ["mfn"],
    "m2p_entry": ["mfn"],
    "compat_m2p_entry": ["mfn"],
    "set_m2p": ["free", (1 << 64) - 1],
    "machphys_mfn_list": [1],
    "page_table": ["mfn"],
    "flush_tlb": [0],
    "alloc": [0],
    "free": ["free", 0],
    "scrub": [1],
    "get_page": ["mfn", 1],
    "put_page": ["mfn"],
    "get_page_type": ["mfn", "l1"],
    "put_page_type": ["mfn"],
    "put_page_and_type": ["mfn"],
    "map_domain_page": ["mfn", 0],
    "map_domain_page_of": ["mfn", 0],
    "unmap_domain_page": [0x1000],
    "map_domain_page_global": ["mfn"],
    "create_domain": [7],
    "domain": [1],
    "run": [1],
    "grant_copy": [1, 1],
    "add_memory": [1 << 33, (1 << 33) + (1 << 30)],
}
DOMAIN = {
    "populate": [6, 0],
    "remove": [6],
    "exchange": [[5], [9]],
    "alloc": [0],
    "assign": ["free"],
    "steal": ["free"],
    "place": ["free", 4],
    "displace": ["mfn", 5],
    "mfn": [5],
    "permit_iomem": [1, 2],
    "grant": [9, 2, "mfn"],
    "grant_transitive": [9, 2, 1, 8],
    "end_grant": [9],
    "set_grant_version": [2],
    "setup_table": [2],
    "set_max_pages": [7],
    "map_grant": [1, 8],
    "unmap_grant": [0],
    "transfer_grant": ["mfn", 2, 8],
    "pin_table": ["mfn", 1],
    "unpin_table": ["mfn"],
    "mmu_update": ["mfn", 0, 1],
    "ran_on": [0],
}
#: Without a number to get wrong, or (ops) asking for as much memory as one says.
PLAIN = {
    *(
        "groups",
        "trim",
        "free_chunks",
        "free_pages_by_node",
        "counters",
        "reset_counters",
        "audit",
        "tlb_times",
    ),
    *("tlb_times", "page_infos", "m2p_entries", "compat_m2p_entries", "save", "load", "ops"),
    *("p2m", "grant_entries", "grant_status", "query_size", "destroy"),
}


def fresh():
    machine = small_machine(cpus=2, mapcache=1)
    domain, friend = machine.create_domain(1), machine.create_domain(2)
    mfn = domain.populate(5)
    domain.grant(8, friend, mfn)
    friend.map_grant(domain, 8)
    return machine, domain, {"mfn": mfn, "free": 300}
