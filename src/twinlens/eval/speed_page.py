"""x"""
def speed_page(x): return ""
