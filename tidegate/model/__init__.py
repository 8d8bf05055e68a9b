"""The typed things that pass between people, workflows, activities and the registry."""
