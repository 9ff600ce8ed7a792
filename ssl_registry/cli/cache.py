"""`ssl-registry cache`: what the cache of prepared images holds, and how to empty it."""

import time
from typing import Annotated

import typer

from ssl_registry.cli.console import console

app = typer.Typer(help="Show or empty the cache of prepared images.", no_args_is_help=True)

DAY = 24 * 60 * 60.0


@app.command("info")
def show_cache() -> None:
    """Show where the cache is, how much it holds, and how much of that running jobs use."""
    from ssl_registry.data.cache.store import LIMIT, Store, cache_folder, cache_limit, spell_bytes

    store, limit, say = Store(cache_folder()), cache_limit(), console()
    kept, used = store.kept(), store.in_use()
    busy = [image for image in kept if image.key in used]
    say.print(f"folder      {store.root}", soft_wrap=True)
    say.print(f"images      {len(kept)}, {spell_bytes(sum(image.size for image in kept))}")
    say.print(f"in use      {len(busy)}, {spell_bytes(sum(image.size for image in busy))}")
    say.print(f"limit       {f'none ({LIMIT})' if limit is None else spell_bytes(limit)}")
    if kept:
        say.print(f"last used   {_day(kept[0].used)} to {_day(kept[-1].used)}")


@app.command("clear")
def clear_cache(
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="only what was not used for so many days")
    ] = 0,
) -> None:
    """Remove prepared images; what a running job uses stays.

    For instance: ssl-registry cache clear --older-than 30
    """
    from ssl_registry.data.cache.store import Store, cache_folder, spell_bytes

    store = Store(cache_folder())
    before = time.time() - older_than * DAY if older_than else float("inf")
    removed = store.remove(before=before)
    if not older_than:
        store.forget()
    kept = store.kept()
    say = console()
    say.print(f"removed {len(removed)} images, {spell_bytes(sum(image.size for image in removed))}")
    if kept:
        why = "running jobs use them, or they are newer" if older_than else "running jobs use them"
        say.print(f"{len(kept)} images stay: {why}")


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))
