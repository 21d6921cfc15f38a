"""Reading a compiled program's text: cycles times trips, collectives once each."""

from jaxbpc.plan import hlo_cost

TEXT = """HloModule step

%fused (p: bf16[8,4]) -> bf16[8,16] {
  %p = bf16[8,4]{1,0} parameter(0)
  %all-gather.2 = bf16[8,16]{1,0} all-gather(%p), channel_id=3, replica_groups=mesh['a'=4] {'a'}
}

%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %start = (bf16[8,4], bf16[8,16]) fusion(%x), calls=%fused, {"estimated_cycles":"100"}
  %again = bf16[8,16]{1,0} all-gather(%p), channel_id=3, replica_groups=mesh['a'=4] {'a'}
  %dot = f32[8]{0} fusion(%y), kind=kOutput, calls=%other, {"estimated_cycles":"7"}
}

%other (q: f32[8]) -> f32[8] {
  %inner = f32[8]{0} add(%q, %q), {"estimated_cycles":"5000"}
}

%condition (s: (s32[], f32[8])) -> pred[] {
  %n = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %sum = f32[8]{0} all-reduce(%z), channel_id=9, replica_groups={{0,1},{2,3}}, to_apply=%other
  ROOT %last = f32[8]{0} copy(%sum), {"estimated_cycles":"3"}
}
"""


def test_cost():
    cost = hlo_cost.cost(TEXT)
    # What a fusion or a reduction calls is in its own cycles or, for the reduction, once.
    assert cost.cycles == 12 * (100 + 7) + 3 + 5000
    assert cost.collectives == (
        hlo_cost.Collective("all-gather", 8 * 16 * 2, 4, 12),
        hlo_cost.Collective("all-reduce", 32, 2, 1),
    )


def test_a_program_that_tells_no_cycles():
    assert hlo_cost.cost(
        "ENTRY %main (a: f32[8]) -> f32[8] {\n  ROOT %a = f32[8] copy(%b)\n}\n"
    ) == (hlo_cost.Cost(0, ()))


GPU = """
%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (bf16[2,4]{1,0}, bf16[8,4]{1,0}) all-gather-start(%p), channel_id=1, GROUP
  %b = ((s32[4]{0}, f32[4]{0}), (s32[16]{0}, f32[16]{0})) all-gather-start(%q), channel_id=2, ORDER
  %c = f32[8]{0} all-reduce-start(%t), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add
}
ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%body, {"known_trip_count":{"n":"5"}}
  ROOT %last = bf16[8,4]{1,0} all-gather(%z), channel_id=9, GROUP
}
"""
GPU = GPU.replace("GROUP", "replica_groups=[2,4]<=[8]").replace(
    "ORDER", "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions={0}"
)


def test_what_gpus_write():
    """Starts name operands and results; a loop's trips stand at the loop."""
    assert hlo_cost.cost(GPU).collectives == (
        hlo_cost.Collective("all-gather", 16 * 4 + 16 * 4, 4, 5),
        hlo_cost.Collective("all-gather", 8 * 4 * 2, 4, 5 + 1),
        hlo_cost.Collective("all-reduce", 8 * 4, 4, 5),
    )
