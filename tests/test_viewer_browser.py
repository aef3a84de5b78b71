"""The viewer in a real browser: a photograph goes in, a slider moves the face, files come out."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from test_gltf import read_glb

import mofa_jax

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
MESH = {"x": 740, "y": 300, "width": 250, "height": 350}  # where it is on the page, px
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page():
    """The viewer's page in headless Chromium, with the portrait that it opens by itself."""
    pytest.importorskip("viser", reason="the viewer needs viser")
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser needs playwright")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_running_viewer())
        browsers = stack.enter_context(playwright.sync_playwright()).chromium
        browser = browsers.launch(executable_path=CHROMIUM, args=FLAGS.split())
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(url)
        page.wait_for_selector("img[src^=blob]")
        yield page


@contextlib.contextmanager
def _running_viewer():
    command = [sys.executable, "-m", "mofa_jax.viewer", "--port=8456", "--max_upload=2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            urls = (re.match(r"(http://127\.0\.0\.1:\d+) ", line) for line in process.stdout)
            yield next(url for url in urls if url)[1]
        finally:
            process.terminate()


def overlay(page):
    """Where the reconstruction's picture is; another one for each drawing."""
    return page.get_attribute("img[src^=blob]", "src")


def upload(page, path, status):
    page.set_input_files("input[type=file]", path)
    page.wait_for_function(f"[...document.querySelectorAll('input')].some({status})")


def download(page, name, folder):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def mesh(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=MESH))).convert("L"), float)


def test_a_photograph_goes_in_a_slider_moves_the_face_and_files_come_out(page, tmp_path):
    mirrored = skimage.data.astronaut()[:400, ::-1]
    Image.fromarray(mirrored).save(tmp_path / "mirrored.png")
    before = overlay(page)
    upload(page, tmp_path / "mirrored.png", "i => i.value == 'mirrored.png'")
    page.wait_for_function(f"document.querySelector('img[src^=blob]').src != '{before}'")
    page.wait_for_timeout(1500)
    still, before = mesh(page), overlay(page)

    row = page.locator("div:has(> div > p > label:text-is('mode 1'))").locator("visible=true").first
    slider = row.locator("input[type=text]")  # beside it, the same number
    slider.fill("-4")
    slider.press("Enter")
    page.wait_for_function(f"document.querySelector('img[src^=blob]').src != '{before}'")
    page.wait_for_timeout(1500)
    assert np.abs(mesh(page) - still).mean() > 1

    saved = mofa_jax.load_parameters(download(page, "parameters", tmp_path))
    assert saved.params.expression[0] == -4 and saved.params.expression[1] != 0
    model = mofa_jax.load_face_model("open")
    tree, values = read_glb(download(page, "mesh", tmp_path))
    (glb,) = tree["meshes"]
    (primitive,) = glb["primitives"]
    targets = [values(target["POSITION"]) for target in primitive["targets"]]
    shown = values(primitive["attributes"]["POSITION"]) + np.tensordot(glb["weights"], targets, 1)
    expected = 0.1 * model.geometry(saved.params.shape, saved.params.expression)
    np.testing.assert_allclose(shown, expected, atol=1e-5)
    picture = np.asarray(Image.open(download(page, "picture", tmp_path)))
    assert picture.shape == mirrored.shape
    assert (picture[:30] == mirrored[:30]).all() and (picture != mirrored).any()
    page.screenshot(path=tmp_path / "page.png")


def test_what_is_no_photograph_is_one_sentence_on_the_page(page, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    upload(page, tmp_path / "bad.png", "i => i.value.startsWith('error: bad.png: the content is')")
    Image.new("RGB", (300, 300), (90, 90, 90)).save(tmp_path / "gray.png")
    upload(page, tmp_path / "gray.png", "i => i.value.includes('no face found')")
    with open(tmp_path / "large.jpg", "wb") as file:
        file.truncate(3_000_000)
    upload(
        page,
        tmp_path / "large.jpg",
        "i => i.value.includes('large.jpg: the file has 3 MB, more than 2')",
    )
