import pytest

from tests.no_skips import ALLOWED_SKIPS
from tests.processes import run_python

TESTS = """
import pytest
reason = {reason!r}
def test_that_runs(): pass
@pytest.mark.xfail
def test_known_to_fail(): assert False
def test_skipped_in_its_body(): pytest.skip(reason)
@pytest.mark.skipif(True, reason=reason)
def test_skipped_by_a_mark(): pass
@pytest.fixture
def tool(): pytest.skip(reason)
def test_skipped_by_a_fixture(tool): pass
"""
OPTIONS = ("-p", "tests.no_skips", "-p", "no:cacheprovider", "--no-skips", "-rA")


def outcome(folder, tests):
    path = folder / "test_it.py"
    path.write_text(tests)
    done = run_python("import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))", *OPTIONS, str(path), cwd=folder)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_a_test_that_was_skipped_has_failed(tmp_path):
    code, output = outcome(tmp_path, TESTS.format(reason="no hammer"))
    assert code == 1
    assert "1 failed, 1 passed, 1 xfailed" in output
    assert "2 errors" in output
    assert "no hammer: this test should run" in output


@pytest.mark.slow
def test_a_module_that_was_skipped_has_failed(tmp_path):
    code, output = outcome(tmp_path, "import pytest\npytest.importorskip('no_such_module')")
    assert code == 2
    assert "could not import 'no_such_module'" in output


@pytest.mark.slow
def test_what_the_machine_cannot_do_may_be_skipped(tmp_path):
    mark = f"pytest.mark.parametrize('why', {ALLOWED_SKIPS})"
    code, output = outcome(tmp_path, f"import pytest\n@{mark}\ndef test_it(why): pytest.skip(why)")
    assert code == 0
    assert f"{len(ALLOWED_SKIPS)} skipped" in output
