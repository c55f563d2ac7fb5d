"""Data from files, web servers and object stores into a folder: whole, checked, with licences."""
