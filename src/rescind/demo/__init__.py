"""The main job on real data: six deletion requests on BBC news, told as one story."""

from rescind.demo.story import run

__all__ = ["run"]
