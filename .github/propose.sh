#!/bin/sh
# Commit what changed under terraform/ to a branch and open a pull request for it.
# Usage: propose.sh BRANCH TITLE BODY
set -eu
branch="$1"
title="$2"
body="$3"
if [ -z "$(git status --porcelain -- terraform)" ]; then
  echo "nothing changed: no pull request"
  exit 0
fi
git switch --create "$branch"
git add -- terraform
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
  commit --quiet --message "$title"
git push --force-with-lease origin "$branch"
gh pr create --base main --head "$branch" --title "$title" --body "$body"
