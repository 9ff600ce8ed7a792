"""From the scan to what the network reads, and back to the scan's grid."""
