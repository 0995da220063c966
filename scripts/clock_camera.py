"""A camera that paints the time into its pictures; run by the Python that has GStreamer's bindings.

    /usr/bin/python3 clock_camera.py FRAMES --size 640x360 --fps 10 [--codec h264|mjpeg]

FRAMES are raw I420 pictures. Prints `port N` once it listens at rtsp://127.0.0.1:N/live, and shows the first
picture until a line comes on its standard input; then all of them, forth and back, for ever. Each carries the
wall clock of the moment it was made: see clock_process.py, which starts this and reads the time again. Only
the standard library and GStreamer are needed here.
"""

import argparse
import mmap
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CELL_PX, BITS = 8, 40  # a row of cells for the time in µs, and one of its complement below
WHITE, BLACK = bytes([235]) * CELL_PX, bytes([16]) * CELL_PX
SOURCE = "appsrc name=camera is-live=true format=time do-timestamp=true leaky-type=downstream max-buffers=2"
CODECS = {
    "h264": "x264enc speed-preset=ultrafast tune=zerolatency key-int-max={gop} threads=1 bitrate=4000"
    " ! rtph264pay name=pay0 pt=96 config-interval=1",
    "mjpeg": "jpegenc quality=85 ! rtpjpegpay name=pay0 pt=26",
}


def main():
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frames")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--codec", choices=CODECS, default="h264")
    options = parser.parse_args()
    Gst.init(None)
    with open(options.frames, "rb") as file:  # noqa: PTH123
        pictures = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    camera = Camera(pictures, *map(int, options.size.split("x")), options.fps)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    server.get_mount_points().add_factory("/live", camera.factory(options.codec))
    server.attach(None)
    for work in (camera.play, camera.wait_for_a_line):
        threading.Thread(target=work, daemon=True).start()
    sys.stdout.write(f"port {server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


class Camera:
    """Pictures at a steady rate, for whoever watches."""

    def __init__(self, pictures, width, height, fps):
        self.pictures, self.width, self.height, self.fps = pictures, width, height, fps
        self.count = len(pictures) // (width * height * 3 // 2)
        self.is_moving = False
        self.appsrc = None

    def factory(self, codec):
        """What makes the stream when somebody connects."""
        form = f"video/x-raw,format=I420,width={self.width},height={self.height},framerate={self.fps}/1"
        encode = CODECS[codec].format(gop=self.fps)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {SOURCE} caps={form} ! {encode} )")
        factory.set_shared(True)
        factory.connect("media-configure", self.is_watched)
        return factory

    def is_watched(self, factory, media):
        """Somebody connected: pictures go there from now on."""
        self.appsrc = media.get_element().get_by_name("camera")

    def wait_for_a_line(self):
        """The sign to begin to move."""
        sys.stdin.readline()
        self.is_moving = True

    def play(self):
        """Make pictures by the clock."""
        next_s, moment = time.monotonic(), 0
        while True:
            if self.appsrc is not None:
                self.appsrc.emit("push-buffer", Gst.Buffer.new_wrapped(self.picture(moment)))
            moment += self.is_moving
            next_s += 1 / self.fps
            time.sleep(max(0.0, next_s - time.monotonic()))

    def picture(self, moment):
        """One picture, with the time it is now."""
        round_trip = max(1, 2 * self.count - 2)
        number = moment % round_trip
        size = self.width * self.height * 3 // 2
        start = min(number, round_trip - number) * size
        picture = bytearray(self.pictures[start : start + size])
        code = time.time_ns() // 1000 % (1 << BITS)
        for row, value in enumerate((code, ~code)):
            line = b"".join(WHITE if value >> bit & 1 else BLACK for bit in range(BITS))
            for y in range(row * CELL_PX, (row + 1) * CELL_PX):
                picture[y * self.width : y * self.width + len(line)] = line
        return bytes(picture)


if __name__ == "__main__":
    sys.exit(main())
