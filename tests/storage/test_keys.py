import re
from collections import Counter
from uuid import UUID, uuid4

from storage.keys import bucket_of, is_ours, new_key

UPLOAD = UUID("0198c0de-0000-7000-8000-000000000001")
BUCKETS = ["one", "two", "three"]


def test_key_is_prefix_tenant_and_upload() -> None:
    assert re.fullmatch(rf"[0-9a-f]{{16}}/acme/{UPLOAD}", new_key("acme", UPLOAD))


def test_prefixes_and_buckets_are_uniform() -> None:
    keys = [new_key("acme", uuid4()) for _ in range(6000)]
    assert len({key[:16] for key in keys}) == 6000
    digits = Counter(key[0] for key in keys)
    assert len(digits) == 16
    assert all(250 < count < 500 for count in digits.values())  # 375 expected; further off than 6 deviations
    buckets = Counter(bucket_of(key, BUCKETS) for key in keys)
    assert set(buckets) == set(BUCKETS)
    assert all(1750 < count < 2250 for count in buckets.values())


def test_bucket_is_a_function_of_the_key() -> None:
    key = new_key("acme", UPLOAD)
    assert {bucket_of(key, BUCKETS) for _ in range(10)} == {bucket_of(key, BUCKETS)}
    assert bucket_of("000000000000000a/acme/x", BUCKETS) == "two"
    assert bucket_of(key, ["only"]) == "only"


def test_keys_of_ours_are_told_from_those_of_others() -> None:
    key = new_key("acme-2", UPLOAD)
    assert is_ours(key)
    others = [f"quarantine/{key}", f"/{key}", f"{key}/", f"{key}\n", key.upper(), key[1:], key.replace("acme-2", "")]
    assert [other for other in [*others, "", "a.png", key.replace("acme-2", "a/b")] if is_ours(other)] == []
