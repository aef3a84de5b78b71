"""What the pictures and videos that commands write are called, so that nobody takes them for
photographs."""

from pathlib import Path

# After the photograph's name.
OVERLAY_JPG, OVERLAY_MP4 = ".overlay.jpg", ".overlay.mp4"
PANELS_JPG, EDITED_JPG, EDITED_JSON = ".panels.jpg", ".edited.jpg", ".edited.json"
MODEL_SHEET = ".sheet.png"  # after a face model's
CONTACT_SHEET = "contact_sheet-{}.jpg"  # by its number
RUN_PICTURE = "pictures/{}-{}.jpg"  # in a workdir, by the split and the step's seven digits


def is_result(file: Path) -> bool:
    """Whether a file has a result's name."""
    endings = (OVERLAY_JPG, OVERLAY_MP4, PANELS_JPG, EDITED_JPG, EDITED_JSON, MODEL_SHEET)
    of_runs = (RUN_PICTURE.format(split, "[0-9]" * 7) for split in ("train", "eval"))
    patterns = (CONTACT_SHEET.format("[0-9]*"), *of_runs)
    return file.name.endswith(endings) or any(map(file.match, patterns))
