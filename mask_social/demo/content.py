"""Give a new checkout something to look at: the demonstration's posts, in its own database."""

from mask_social.demo.client import Client
from mask_social.demo.pictures import own_posts


def post_own_pictures(url: str, key: str) -> int:
    """Post the repository's pictures to the service at `url`; return how many."""
    client = Client(url, key)
    posts = own_posts()
    for post in posts:
        client.create_post(post.photo, author_id=post.author_id, caption=post.caption)
    return len(posts)
