#!/usr/bin/env bash
# Stands for the program of a distribution that is jars only: says which ZooKeeper lies in the folder that its own path
# goes through, up to the first "..".
ls "${0%%/../*}"/usr/share/java/zookeeper-[0-9]*.jar | sed 's|.*/zookeeper-|ZooKeeper |; s|\.jar$||'
