"""What people and programs are shown of payments: the objects of the API, and how they are made of the stored ones. Pure."""
