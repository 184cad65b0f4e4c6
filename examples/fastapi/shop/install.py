"""Makes the tables of the application; ``python -m taskq schema apply`` makes those of taskq."""

from shop.orders import Base
from shop.tasks import app

if __name__ == "__main__":
    Base.metadata.create_all(app.database.engine)
    app.close()
