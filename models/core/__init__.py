"""The pure core: values in, values out. It opens no socket or file and reads no clock or environment."""
