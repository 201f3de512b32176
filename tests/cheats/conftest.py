"""One tiny trained workspace for all cheats; each test gets a copy of its own."""

from __future__ import annotations

import pytest

from rescind.methods.s3t import S3T
from rescind.testing.trial import Trial
from rescind.workspace import Workspace


@pytest.fixture(scope="package")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(S3T(), tmp_path_factory.mktemp("cheats"), records=48, epochs=1)


@pytest.fixture
def workspace(trial: Trial) -> Workspace:
    return trial.workspace()
