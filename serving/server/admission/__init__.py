"""Admission control: decides which calls get a thread and which are refused because of overload."""
