import math
import subprocess
import sys

import pytest

from longtake.pipelines.tracking.settings import TrackingParams


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"enabled": "yes"}, "enabled='yes': must be true or false"),
        ({"system_metrics": 1}, "system_metrics=1: must be true or false"),
        ({"uri": " "}, "uri=' ': must be a string that is not blank"),
        ({"experiment": None}, "experiment=None: must be a string that is not blank"),
        ({"experiment": ""}, "experiment='': must be a string that is not blank"),
        ({"name": 5}, "name=5: must be a string that is not blank"),
        ({"interval_s": 0}, "interval_s=0: must be a number of seconds, more than 0 and at most 3600"),
        ({"interval_s": True}, "interval_s=True: must be a number of seconds"),
        ({"interval_s": math.nan}, "interval_s=nan: must be a number of seconds"),
    ],
)
def test_an_invalid_setting_is_refused(setting, message):
    with pytest.raises(ValueError) as caught:
        TrackingParams(**setting)
    assert str(caught.value).startswith(message)


def test_the_settings_are_importable_without_mlflow_and_torch():
    program = "import sys, longtake.pipelines.tracking.settings; print({'mlflow', 'torch', 'ray'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
