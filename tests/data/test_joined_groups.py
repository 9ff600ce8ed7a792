"""Patients are joined where their images are equal, and nowhere else."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.data.joined_groups import join_groups

CASES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.sampled_from("PQRST"), st.frozensets(st.integers(0, 16), max_size=3)),
    max_size=20,
)


def test_equal_images_of_two_patients_make_one() -> None:
    groups = {"74_a": "74", "74_b": "74", "76_a": "76", "76_b": "76", "80_a": "80"}
    contents = {"74_a": "x", "74_b": "y", "76_a": "xv", "76_b": "z", "80_a": "w"}
    joined = join_groups(groups, contents)
    assert joined == {"74_a": "74", "74_b": "74", "76_a": "74", "76_b": "74", "80_a": "80"}


def test_a_case_without_a_patient_is_one_of_its_own() -> None:
    assert join_groups({}, {"b": [1], "a": [1, 3], "c": [2]}) == {"b": "a", "a": "a", "c": "c"}
    assert join_groups({"x": "P"}, {}) == {"x": "P"}


@given(CASES)
def test_patients_share_a_name_exactly_where_a_chain_of_equal_images_leads(
    cases: dict[str, tuple[str, int]],
) -> None:
    groups = {name: patient for name, (patient, _) in cases.items()}
    contents = {name: content for name, (_, content) in cases.items()}
    joined = join_groups(groups, contents)
    assert set(joined) == set(cases)
    linked = {name: {name} for name in cases}
    for _ in cases:
        for one, other in combinations(cases, 2):
            if groups[one] == groups[other] or contents[one] & contents[other]:
                both = linked[one] | linked[other]
                for name in both:
                    linked[name] = both
    for one, other in combinations(cases, 2):
        assert (joined[one] == joined[other]) == (other in linked[one])


@given(CASES)
def test_the_order_of_the_cases_changes_nothing(cases: dict[str, tuple[str, int]]) -> None:
    def joined(names: list[str]) -> dict[str, str]:
        return join_groups(
            {name: cases[name][0] for name in names}, {name: cases[name][1] for name in names}
        )

    assert joined(sorted(cases)) == joined(sorted(cases, reverse=True))


def test_a_hundred_thousand_equal_images_are_joined_without_going_deep() -> None:
    contents = {f"{number:06}": [0] for number in range(100_000)}
    assert set(join_groups({}, contents).values()) == {"000000"}
