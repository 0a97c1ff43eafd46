"""Feature sets from video, audio and face crops, aligned by the video's own time stamps."""
