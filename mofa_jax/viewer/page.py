"""The viewer's page: a scene with the face's mesh, pictures, sliders, and buttons that save."""

import logging
import threading
from collections.abc import Callable

import numpy as np
import viser

from mofa_jax.data.sources.images import decode_photograph
from mofa_jax.errors import InputError, one_line
from mofa_jax.params import FaceParams
from mofa_jax.reconstruction.pictured_face import FaceLoader, PicturedFace
from mofa_jax.viewer.controls import Control, controls_of
from mofa_jax.viewer.drawing import (
    STEM,
    crop_picture,
    draft,
    edited_picture,
    mesh_file,
    overlay_picture,
    parameters_file,
    picture_file,
)

_logger = logging.getLogger(__name__)
_PAUSE = 0.25  # s without a change, after which the photograph is edited
_CAMERA = (0.0, 0.0, 0.45)  # m from the middle between mesh and photograph
_ASIDE, _PICTURE = 0.13, 0.22  # m: how far from that middle both are; how wide the photograph is
_UPRIGHT = (0.0, 1.0, 0.0, 0.0)  # half a turn about x: viser's pictures have y down
_FILES = {"mesh": mesh_file, "picture": picture_file, "parameters": parameters_file}
_STEP = 0.05  # of all sliders
_OPEN = ("expression", "pose")  # the folders that are open at first


class Page:
    """One face, for all who look at the page.

    A slider changes the code at once; a thread of its own draws the newest code: a draft first, and
    the edited photograph when nothing has changed for a moment.
    """

    def __init__(
        self, server: viser.ViserServer, loader: FaceLoader, face: PicturedFace, max_upload: int
    ):
        """`max_upload`: of a photograph that somebody sends, MB; viser itself takes it whole."""
        self._max_upload = max_upload
        self._loader, self._model = loader, loader.model
        self._face, self._params = face, face.params
        self._lock = threading.Lock()  # of both
        self._crop = crop_picture(face)
        self._changed = threading.Event()
        self._add_scene(server)
        self._status = server.gui.add_text("Status", "ready", disabled=True)
        self._add_buttons(server.gui)
        overlay = overlay_picture(self._crop, face.params, self._model, face.cam)
        self._overlay = server.gui.add_image(overlay, label="Reconstruction", format="jpeg")
        self._sliders = self._add_sliders(server.gui)
        threading.Thread(target=self._draw_forever, daemon=True).start()

    def _add_scene(self, server: viser.ViserServer) -> None:
        """The photograph on the left, the mesh on the right."""
        server.scene.set_up_direction("+y")
        server.initial_camera.position, server.initial_camera.look_at = _CAMERA, (0.0, 0.0, 0.0)
        mesh, _ = draft(self._crop, self._params, self._model, self._face.cam)
        self._mesh = server.scene.add_glb("/face", mesh, position=(_ASIDE, 0.0, 0.0))
        self._edited = server.scene.add_image(
            "/photograph",
            edited_picture(self._face, self._params, self._model),
            _PICTURE,
            _PICTURE,
            position=(-_ASIDE, 0.0, 0.0),
            wxyz=_UPRIGHT,
        )

    def _add_buttons(self, gui: viser.GuiApi) -> None:
        upload = gui.add_upload_button("Open a photograph", mime_type="image/*")
        upload.on_upload(lambda event: self._guarded(lambda: self._take(event.target.value)))
        save = gui.add_button_group("Save", list(_FILES))
        save.on_click(lambda event: self._guarded(lambda: self._save(event)))
        gui.add_button("Reset").on_click(lambda _: self._show(self._face))

    def _add_sliders(self, gui: viser.GuiApi) -> list[tuple[Control, viser.GuiSliderHandle]]:
        controls = controls_of(self._model)
        sliders = []
        for group in dict.fromkeys(control.group for control in controls):
            with gui.add_folder(group.capitalize(), expand_by_default=group in _OPEN):
                sliders += [(c, self._add_slider(gui, c)) for c in controls if c.group == group]
        return sliders

    def _add_slider(self, gui: viser.GuiApi, control: Control) -> viser.GuiSliderHandle:
        value = _on_slider(control, self._params)
        slider = gui.add_slider(control.label, control.low, control.high, _STEP, value)

        @slider.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # a person has moved it
                with self._lock:
                    self._params = control.write(self._params, slider.value)
                self._changed.set()

        return slider

    def _show(self, face: PicturedFace) -> None:
        """Shows a face as it was found."""
        self._crop = crop_picture(face)
        with self._lock:
            self._face, self._params = face, face.params
        for control, slider in self._sliders:
            slider.value = _on_slider(control, face.params)
        self._changed.set()

    def _take(self, file: viser.UploadedFile) -> None:
        """Shows the largest face of a photograph that somebody has sent."""
        size = len(file.content) / 1e6
        if size > self._max_upload:
            raise InputError(
                f"{file.name}: the file has {size:.0f} MB, more than {self._max_upload}; save a "
                "smaller copy"
            )
        self._status.value = f"looking for a face in {file.name}"
        self._show(self._loader.find(decode_photograph(file.content, file.name)))
        self._status.value = file.name

    def _save(self, event: viser.GuiEvent) -> None:
        ending, content = _FILES[event.target.value](*self._now(), self._model)
        event.client.send_file_download(f"{STEM}.{ending}", content, save_immediately=True)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Does something that a person asked for; what is wrong with it stands on the page."""
        try:
            action()
        except (InputError, OSError) as error:
            self._status.value = f"error: {one_line(error)}"

    def _now(self) -> tuple[PicturedFace, FaceParams]:
        with self._lock:
            return self._face, self._params

    def _draw_forever(self) -> None:
        while True:
            try:
                self._changed.wait()
                self._changed.clear()
                self._draw_draft()
                if not self._changed.wait(_PAUSE):
                    self._draw_at_rest()
            except Exception:  # one face that cannot be drawn does not end the page
                _logger.exception("A face could not be drawn.")

    def _draw_draft(self) -> None:
        face, params = self._now()
        mesh, picture = draft(self._crop, params, self._model, face.cam)
        self._mesh.glb_data, self._overlay.image = mesh, picture

    def _draw_at_rest(self) -> None:
        face, params = self._now()
        self._overlay.image = overlay_picture(self._crop, params, self._model, face.cam)
        self._edited.image = edited_picture(face, params, self._model)


def _on_slider(control: Control, params: FaceParams) -> float:
    value = np.clip(control.read(params), control.low, control.high)
    return round(round(float(value) / _STEP) * _STEP, 2)
