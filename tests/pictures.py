"""Write README's pictures: the first screen of a report, and its figure of the accuracies.

    python tests/pictures.py RESULTS FOLDER

RESULTS: of a study that is done, with report.html; report.png and accuracy.png are written to FOLDER.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from test_report_page import Browser

WIDTH, HEIGHT = 1200, 620


def main(results, folder):
    results, folder = Path(results).resolve(), Path(folder)
    shutil.copy(results / "report/accuracy.png", folder / "accuracy.png")
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.do("Emulation.setDeviceMetricsOverride", **size)
        browser.do("Emulation.setScrollbarsHidden", hidden=True)
        browser.driver.get((results / "report.html").as_uri())
        browser.driver.save_screenshot(str(folder / "report.png"))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
