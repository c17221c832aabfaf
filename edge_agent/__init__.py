"""A local daemon that answers on the device and escalates the rest without the person's data."""

__version__ = "0.1.0"
