"""The commands, one module each.

What a command needs is imported when it runs: a wrong setting must not wait for torch.
"""

import typer

from ssl_registry.cli import (
    cache,
    check,
    check_plugin,
    demo,
    efficiency,
    embed,
    evaluate,
    export,
    finetune,
    import_weights,
    listing,
    methods,
    new_plugin,
    plan,
    plugins,
    predict,
    pretrain,
    preview,
    probe,
    show,
    split,
)

app = typer.Typer(
    name="ssl-registry",
    help="Self-supervised pretext tasks for medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("list")(listing.list_components)
app.command("show")(show.show_component)
app.command("plugins")(plugins.list_plugins)
app.command("new-plugin")(new_plugin.new_plugin)
app.command("check-plugin")(check_plugin.check_plugin)
app.command("check")(check.run_check)
app.command("split")(split.run_split)
app.command("plan")(plan.run_plan)
app.command("pretrain")(pretrain.run_pretrain)
app.command("finetune")(finetune.run_finetune)
app.command("predict")(predict.run_predict)
app.command("import")(import_weights.run_import)
app.command("evaluate")(evaluate.run_evaluate)
app.command("embed")(embed.run_embed)
app.command("probe")(probe.run_probe)
app.command("methods")(methods.run_methods)
app.command("export")(export.run_export)
app.command("efficiency")(efficiency.run_efficiency_command)
app.command("demo")(demo.run_demo_command)
app.command("preview")(preview.run_preview)
app.add_typer(cache.app, name="cache")
