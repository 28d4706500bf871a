"""What is remembered of variables is bounded, however many operations there are."""

from graph import by_variables
from graph.by_variables import ByVariables


def test_all_operations_together_remember_only_so_much() -> None:
    operations = [ByVariables[int]() for _ in range(200)]
    for operation in operations:
        for number in range(32):
            operation.get({"text": f"{number:>900}"}, lambda: 1)
    remembered = sum(len(operation) for operation in operations)
    assert 0 < remembered * 900 < by_variables._bytes <= by_variables._MOST_BYTES
    assert len(operations[-1]) == 32
    assert len(operations[0]) == 0


def test_what_was_forgotten_is_found_out_and_remembered_again() -> None:
    operation = ByVariables[int]()
    found = [operation.get({"n": 1}, lambda: 5), operation.get({"n": 1}, lambda: 6)]
    operation._forget()
    found += [operation.get({"n": 1}, lambda: 7), operation.get({"n": 1}, lambda: 8)]
    assert found == [5, 5, 7, 7]
