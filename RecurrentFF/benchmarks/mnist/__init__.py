"""Handwritten digits, shown as a video in which nothing moves."""
