"""Tenants: the people who share a server that somebody else hosts. What one may ask for, see of the disk, and take."""
