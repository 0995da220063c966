"""The image encoder: timm's TinyViT-5M with MobileSAM's last stride and SAM's neck."""

from __future__ import annotations

# The class, not create_model: the reference package overwrites timm's registered tiny_vit_* names on import.
from timm.models.tiny_vit import TinyVit
from torch import Tensor, nn

from .channel_norm import ChannelNorm

EMBEDDING_DIM = 256
PATCH_PX = 16  # one cell of the image embedding covers 16x16 px of the model input


class TinyVitEncoder(nn.Module):
    """Image embedding of any input whose sides are multiples of 16 px, square or not."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = TinyVit(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        self.trunk.head = nn.Identity()  # the classifier is no part of SAM
        # MobileSAM keeps the last stage at stride 16, as SAM's own encoder has it.
        self.trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(320, EMBEDDING_DIM, 1, bias=False),
            ChannelNorm(EMBEDDING_DIM),
            nn.Conv2d(EMBEDDING_DIM, EMBEDDING_DIM, 3, padding=1, bias=False),
            ChannelNorm(EMBEDDING_DIM),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Image embedding (B, 256, H/16, W/16) of normalised pixels (B, 3, H, W)."""
        embedding: Tensor = self.neck(self.trunk.forward_features(pixels))
        return embedding

    def forward_stages(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The image embedding and what the four stages gave on the way to it.

        The stages are (B, 64, H/4, W/4), (B, 128, H/8, W/8), (B, 160, H/16, W/16) and (B, 320, H/16, W/16).
        """
        stages = []
        x = self.trunk.patch_embed(pixels)
        for stage in self.trunk.stages:
            x = stage(x)
            stages.append(x)
        return self.neck(x), stages
