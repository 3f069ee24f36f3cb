"""The sandbox: simulated payment vendors with a durable ledger of the money they moved, in a file of its own that our
store never touches. It is the outside witness that tests and operators compare with.

faults     what a token or the fault profile makes a vendor do
ledger     the books, the vendors' objects, their saved answers and what faults remember: one SQLite file
deliveries the webhooks in the ledger file: what was announced, and the sends that are owed
outbox     what the vendors call to announce a webhook, and where webhooks go
mock       the vendor of the ``mock`` adapter, sans-I/O; further vendors are one more file each (``payonce.simulators``)
server     the ASGI app around them
pages      where a customer approves or declines
courier    sends the webhooks, beside the server
"""
