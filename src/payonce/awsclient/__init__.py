"""AWS itself, behind ``payonce.awsapi``: the client, what to do when it cannot be used, and secrets that lie there."""
