"""Requests that change services, real servers and local addresses."""

from __future__ import annotations

from .context import Context, Handler
from .errors import Code
from .fields import Fields
from .ipvs_fields import (
    read_dest_key,
    read_dest_options,
    read_key,
    read_laddr,
    read_optional_key,
    read_options,
)
from .services import ServiceOptions


def _svc_add(context: Context, fields: Fields) -> None:
    key, options = read_key(fields), read_options(fields, ServiceOptions())
    fields.done()
    context.state.ipvs.add_service(key, options)


def _svc_edit(context: Context, fields: Fields) -> None:
    key = read_key(fields)
    service = context.state.ipvs.services.find(key, Code.INVAL)
    options = read_options(fields, service.options)
    fields.done()
    context.state.ipvs.edit_service(key, options)


def _svc_del(context: Context, fields: Fields) -> None:
    key = read_key(fields)
    fields.done()
    context.state.ipvs.delete_service(key)


def _svc_flush(context: Context, fields: Fields) -> None:
    fields.done()
    context.state.ipvs.flush()


def _svc_zero(context: Context, fields: Fields) -> None:
    key = read_optional_key(fields)
    fields.done()
    context.state.ipvs.zero(key)


def _dest_add(context: Context, fields: Fields) -> None:
    svc, key, options = read_key(fields), read_dest_key(fields), read_dest_options(fields)
    fields.done()
    context.state.ipvs.add_dest(svc, key, options)


def _dest_edit(context: Context, fields: Fields) -> None:
    svc, key = read_key(fields), read_dest_key(fields)
    known = context.state.ipvs.services.find(svc, Code.INVAL).dests.get(key)
    options = read_dest_options(fields, "" if known is None else known.options.server_id)
    inhibited = fields.flag("inhibited", default=False)
    fields.done()
    context.state.ipvs.edit_dest(svc, key, options, inhibited)


def _dest_del(context: Context, fields: Fields) -> None:
    svc, key = read_key(fields), read_dest_key(fields)
    fields.done()
    context.state.ipvs.delete_dest(svc, key)


def _laddr_add(context: Context, fields: Fields) -> None:
    svc, ref = read_key(fields), read_laddr(fields, context.state.inet.devices)
    fields.done()
    context.state.ipvs.add_laddr(svc, ref)


def _laddr_del(context: Context, fields: Fields) -> None:
    svc, ref = read_key(fields), read_laddr(fields, context.state.inet.devices)
    fields.done()
    context.state.ipvs.delete_laddr(svc, ref)


HANDLERS: dict[str, Handler] = {
    "svc.add": _svc_add,
    "svc.edit": _svc_edit,
    "svc.del": _svc_del,
    "svc.flush": _svc_flush,
    "svc.zero": _svc_zero,
    "dest.add": _dest_add,
    "dest.edit": _dest_edit,
    "dest.del": _dest_del,
    "laddr.add": _laddr_add,
    "laddr.del": _laddr_del,
}
