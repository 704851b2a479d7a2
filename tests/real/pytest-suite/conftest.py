"""Takes the part of the suite that TEST_SHARD_INDEX of TEST_TOTAL_SHARDS names."""
import os


def pytest_addoption(parser):
    parser.addoption("--break", action="store_true", help="let one test fail")


def pytest_collection_modifyitems(config, items):
    index, total = int(os.environ.get("TEST_SHARD_INDEX", 0)), int(os.environ.get("TEST_TOTAL_SHARDS", 1))
    kept = [item for number, item in enumerate(items) if number % total == index]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
