"""What puts taskq beside other libraries. Each is imported by those alone who use it."""
