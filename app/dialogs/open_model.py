"""Open another model, from the samples, a file or the server's folder, and choose the data that go with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, sources, state
from app.dialogs import parts
from core.errors import InputError
from core.networks.demo_files import demo_info
from core.networks.tensor_files import INDEX_NAME

NAME, ERROR = "open_model", "open-error"
UPLOAD = "upload"
"""The entry of the data menu that asks for a file."""

ARCH_HELP = (
    "Leave this empty to recognise the network from names and shapes. Otherwise write for example `resnet20`, "
    "`resnet18`, `mlp:64-128-10`, `convnet:1-16-32-10`, `autoencoder:64-32-8` or `transformer`; options follow a "
    "colon, as in `resnet20:classes=100`, or `resnet20:size=28` for images of 28 × 28."
)


def open_model() -> None:
    """Opens the dialog, or keeps it open."""
    state.dialog(NAME)
    _dialog()


def _closed() -> None:
    """Closing the dialog gives up what it was opening."""
    job = services.job(state.job("open"))
    if job is not None and not job.over:
        services.cancel(job.id)
    state.job("open", "")
    parts.closed()


@st.dialog("Open a model", width="medium", on_dismiss=_closed)
def _dialog() -> None:
    _finish()
    if state.dialog() != NAME:
        st.rerun()
    job = services.job(state.job("open"))
    busy = job is not None
    with st.container():  # there even when empty, so that the tabs below keep their place and which one is open
        parts.error(ERROR)
        if job is not None:
            parts.progress(job, f"Opening {frame.literal(sources.display_name(state.value('opening')[0]))}")
    names = ["Samples", "Upload", "Folder on the server", "Random weights"]
    samples, upload, folder, random = st.tabs(names, key="open-tabs")
    with samples:
        _samples(busy)
    with upload:
        _upload(busy)
    with folder:
        _folder(busy)
    with random:
        _random(busy)
    _options(busy)


def _samples(busy: bool) -> None:
    columns = st.columns(2)
    for i, name in enumerate(sources.demos()):
        try:
            info = demo_info(name)
        except InputError as error:
            columns[i % 2].error(frame.literal(str(error)))
            continue
        with columns[i % 2].container(border=True):
            st.markdown(
                f"**{frame.literal(info.label)}**  \n{frame.literal(info.arch.label)}  \n"
                f"{frame.percent(info.accuracy)} of {info.n:,} test images of {frame.literal(info.data)}, "
                f"{info.nbytes / 1e3:,.0f} kB"
            )
            st.button("Open", key=f"open-{name}", on_click=_start_sample, args=(name, info.data), disabled=busy)


def _upload(busy: bool) -> None:
    kinds = ", ".join(sources.KINDS)
    file = st.file_uploader(
        f"A checkpoint ({kinds}), at most {sources.UPLOAD_LIMIT_MB} MB",
        key="open-upload",
        max_upload_size=sources.UPLOAD_LIMIT_MB,
        disabled=busy,
        help="Only weights are read: nothing in the file is executed. The file stays on this server.",
    )
    if file is None:  # also when the browser has refused one that is too large
        st.markdown(
            f"Larger than {sources.UPLOAD_LIMIT_MB} MB? Open it from the folder on the server, or on the command line "
            "with `python -m core spectra FILE`."
        )
    ready = file is not None and not busy
    st.button("Open the file", type="primary", key="open-file", on_click=_start_upload, disabled=not ready)


def _folder(busy: bool) -> None:
    found = sources.listed(sources.KINDS)
    if sources.models_folder() is None:
        st.info("This server offers no folder. Whoever runs it can set RANKSCOPE_MODELS to one, and start it again.")
        return
    if not found:
        kinds = ", ".join(sources.KINDS)
        st.info(f"The server's folder holds no checkpoint: {kinds}, or a folder with {INDEX_NAME}.")
        return
    words = dict(found)
    chosen = st.selectbox(
        "Checkpoint",
        list(words),
        format_func=lambda source: words.get(source, source),
        key="open-folder",
        disabled=busy,
        filter_mode="contains",
    )
    st.button(
        "Open it", type="primary", key="open-folder-file", on_click=_start, args=(chosen,), disabled=busy or not chosen
    )


def _options(busy: bool) -> None:
    """The data and the architecture for a file; a sample has its own."""
    st.markdown("**With a file**", help="A sample is opened with the data it was trained on.")
    now, menu = state.get(), {"digits": "digits (8 × 8, ten classes)"}
    if now.data not in menu:
        menu[now.data] = f"{sources.display_name(now.data)} (in use)"
    menu |= {source: words for source, words in sources.listed(sources.DATA_KINDS) if source not in menu}
    menu[UPLOAD] = "a file of your own"
    left, right = st.columns(2)
    with left:
        st.selectbox(
            "Data to calibrate and measure on",
            list(menu),
            index=list(menu).index(now.data),
            format_func=lambda source: menu.get(source, source),
            key="open-data",
            disabled=busy,
            help="Training images (without labels) repair a compressed model, test images measure it.",
        )
        chosen = state.value("open-data", now.data)
        if chosen == UPLOAD:
            st.file_uploader(
                f"An .npz with x and y, or a tar of class folders, at most {sources.UPLOAD_LIMIT_MB} MB",
                key="open-data-file",
                max_upload_size=sources.UPLOAD_LIMIT_MB,
                disabled=busy,
            )
        ready = state.value("open-data-file") is not None if chosen == UPLOAD else chosen != now.data
        if ready:
            st.button("Use these data with the open model", key="open-data-only", on_click=_use_data, disabled=busy)
    with right:
        st.text_input(
            "Architecture", key="open-arch", placeholder="recognise", help=ARCH_HELP, max_chars=200, disabled=busy
        )


def _random(busy: bool) -> None:
    st.markdown("An untrained network of a shape you choose: what spectra look like before there is anything in them.")
    left, right = st.columns([3, 1])
    left.text_input("Network", "mlp:64-128-64-10", key="open-random", help=ARCH_HELP, max_chars=200, disabled=busy)
    right.number_input("Seed", 0, 999_999_999, 0, key="open-seed", disabled=busy)
    st.button("Make it", type="primary", key="open-random-make", on_click=_start_random, disabled=busy)


def _start_random() -> None:
    text = (state.value("open-random") or "").strip().replace("@", "")
    _start(f"random:{text}@{state.value('open-seed')}", "", "")


def _start_sample(name: str, data: str) -> None:
    _start(name, data, "")


def _start_upload() -> None:
    """Stores the uploaded checkpoint and opens it."""
    file = state.value("open-upload")
    try:
        _start(sources.store_upload(file.name, file.getvalue()))
    except InputError as error:
        parts.fail(ERROR, str(error))


def _start(source: str, data: str = "", arch: str | None = None) -> None:
    """Opens a source, with the data and the architecture chosen if none are given; at once when it is known already."""
    parts.fail(ERROR, "")
    arch = (state.value("open-arch") or "").strip() if arch is None else arch
    try:
        data = data or _data()
        state.keep("opening", (source, data, arch))
        known = services.survey(source, data, arch)
        if known is not None:
            sources.path_of(source)
            _opened(known)
        else:
            state.job("open", services.submit("survey", source, arch).id)
    except InputError as error:
        parts.fail(ERROR, str(error))


def _use_data() -> None:
    """Other data for the model that is open; its plan stays."""
    parts.fail(ERROR, "")
    try:
        state.put(data=_data())
    except InputError as error:
        parts.fail(ERROR, str(error))
        return
    state.job("calibrate", "")
    state.fresh(True)
    state.dialog("")


def _data() -> str:
    """The source of the data chosen. InputError if there is none."""
    chosen = state.value("open-data") or state.get().data
    if chosen != UPLOAD:
        sources.path_of(chosen)
        return str(chosen)
    file = state.value("open-data-file")
    if file is None:
        raise InputError("Choose the file that holds the data, or take the digits.")
    return sources.store_upload(file.name, file.getvalue())


def _finish() -> None:
    """Takes in what the job that opens the model has made, once it is over."""
    job = services.job(state.job("open"))
    if job is None or not (job.over or state.left(job.id)):
        return
    state.job("open", "")
    if job.state == "failed":
        parts.fail(ERROR, job.error)
    elif job.state == "done" and not state.left(job.id):
        source, _, arch = state.value("opening")
        _opened(services.learn(source, job.result["survey"], arch=arch))


def _opened(survey: Any) -> None:
    """The model is open: the page shows it, the dialog closes."""
    source, data, arch = state.value("opening")
    state.open_model(source, data, survey, arch)
    state.dialog("")
